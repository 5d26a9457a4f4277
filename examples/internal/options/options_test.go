package options

import (
	"flag"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

func parse(args ...string) (zcnet.Config, error) {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg := Engine(flags)
	err := flags.Parse(args)
	return *cfg, err
}

func TestEngine(t *testing.T) {
	cfg, err := parse()
	require.NoError(t, err)
	assert.Equal(t, zcnet.Config{}, cfg)
	cfg, err = parse("-mode", "zerocopy", "-interface", "eth0", "-queues", "4,5")
	require.NoError(t, err)
	assert.Equal(t, zcnet.Config{Mode: zcrx.ZeroCopy, Interface: "eth0", Queues: []int{4, 5}}, cfg)
	for _, wrong := range [][]string{{"-mode", "fast"}, {"-queues", "4,"}, {"-queues", "all"}} {
		_, err := parse(wrong...)
		assert.ErrorContains(t, err, "invalid value")
	}
}
