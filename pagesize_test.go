//go:build linux && cgo

package zcrx

import "github.com/zcrx-go/zcrx/internal/sys"

// pageSize is short for the number that most tests reckon with.
func pageSize() uintptr { return sys.PageSize() }
