package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx/bench/internal/report"
	"github.com/zcrx-go/zcrx/bench/internal/result"
)

func newReport() *cobra.Command {
	var page, plots string
	cmd := &cobra.Command{
		Use:   "report FILE",
		Short: "Write the tables and plots of results into the documentation",
		Long: "Write the results in FILE, which --results wrote, as tables into the section of the page\n" +
			"between its two markers, and as plots into a folder.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			machine, results, err := result.Read(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("read %s: %w", args[0], err)
			}
			if len(results) == 0 {
				return fmt.Errorf("%s has no results", args[0])
			}
			return report.Write(page, plots, machine, results)
		},
	}
	cmd.Flags().StringVar(&page, "page", "docs/performance.md", "`FILE` with the markers "+report.Begin+" and "+report.End)
	cmd.Flags().StringVar(&plots, "plots", "docs/plots", "`FOLDER` of the plots, beside the page")
	return cmd
}
