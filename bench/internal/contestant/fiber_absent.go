//go:build !fiber

package contestant

import "github.com/zcrx-go/zcrx"

// fiberMethods returns none: this build has no fibers.
func fiberMethods() []method { return nil }

// fastHTTPFibers returns none: this build has no fibers.
func fastHTTPFibers(...zcrx.Mode) []*Contestant { return nil }
