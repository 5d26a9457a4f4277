package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx"
)

// buildVersion is what the Go linker noted about this binary.
type buildVersion struct {
	Version  string // of the module, "(devel)" out of a checkout
	Revision string // of the checkout; may be empty
}

func version() buildVersion {
	v := buildVersion{Version: "(unknown)"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}

func newVersion(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of liburing",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version()
			liburing := "none (built without cgo)"
			// What could not be found out does not matter here.
			if features, _ := zcrx.ProbeFeatures(); features.Liburing != "" {
				liburing = features.Liburing
			}
			fmt.Fprintf(std.out, "zcrx %s", v.Version)
			if v.Revision != "" {
				fmt.Fprintf(std.out, " (%s)", v.Revision)
			}
			fmt.Fprintf(std.out, "\nliburing %s\n%s %s/%s\n", liburing, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
