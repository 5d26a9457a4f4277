// Package csrc holds the C headers that the bottom floor of zcrx is compiled
// against. It exists so that go mod vendor, which drops folders without Go files,
// carries the headers along; and it embeds them, so that the go command, which does
// not see what C includes, compiles anew when one of them changes.
package csrc

import "embed"

//go:embed *.h
var _ embed.FS
