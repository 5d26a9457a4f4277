// Package options is the flags that the examples have in common.
package options

import (
	"flag"
	"strconv"
	"strings"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// Engine adds -mode, -interface and -queues, which fill in the Config as the flags
// are parsed.
func Engine(flags *flag.FlagSet) *zcnet.Config {
	cfg := new(zcnet.Config)
	flags.Func("mode", "`MODE`: auto (the default), zerocopy, deviceless, provided or socket", func(s string) (err error) {
		cfg.Mode, err = zcrx.ParseMode(s)
		return err
	})
	flags.StringVar(&cfg.Interface, "interface", "", "network `INTERFACE` for zero copy")
	flags.Func("queues", "its receive `QUEUES` for zero copy, separated by commas", func(s string) error {
		for number := range strings.SplitSeq(s, ",") {
			queue, err := strconv.Atoi(number)
			if err != nil {
				return err
			}
			cfg.Queues = append(cfg.Queues, queue)
		}
		return nil
	})
	return cfg
}
