// Package options has the flags that all examples have. Engine adds them to a FlagSet.
package options

import (
	"flag"
	"strconv"
	"strings"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// Engine adds the flags -mode, -interface and -queues, and returns the Config that they set
// when they are parsed.
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
