package vm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigDefaults(t *testing.T) {
	c, err := Config{Program: "p"}.withDefaults()
	require.NoError(t, err)
	assert.Equal(t, "7.3", c.Kernel)
	assert.Equal(t, "1G", c.Memory)
	assert.Equal(t, 2, c.CPUs)
	assert.Equal(t, 5*time.Minute, c.Timeout)
	assert.Equal(t, AccelAuto, c.Accel)
	assert.Equal(t, TCGThreadAuto, c.TCGThread)
	assert.NotNil(t, c.Stdout)
	assert.Nil(t, c.Console, "hidden, not discarded: errors then show it")
}

func TestConfigRefuses(t *testing.T) {
	for want, c := range map[string]Config{
		"no program":        {},
		`memory "1024"`:     {Program: "p", Memory: "1024"},
		`memory "0G"`:       {Program: "p", Memory: "0G"},
		"-1 cpus":           {Program: "p", CPUs: -1},
		"user id -1":        {Program: "p", UID: -1},
		"timeout -1s":       {Program: "p", Timeout: -time.Second},
		`accelerator "xen"`: {Program: "p", Accel: "xen"},
		`tcg thread "many"`: {Program: "p", TCGThread: "many"},
		`"novalue"`:         {Program: "p", Env: []string{"novalue"}},
		`"=v"`:              {Program: "p", Sysctls: []string{"=v"}},
		`output "out"`:      {Program: "p", Outputs: []Output{{Guest: "out"}}},
	} {
		_, err := c.withDefaults()
		assert.ErrorContains(t, err, want)
	}
}

func TestJob(t *testing.T) {
	job, files := Config{
		Program: "/somewhere/pkg.test",
		Args:    []string{"a", "b c"},
		UID:     1000,
		Env:     []string{"A=1", "PATH=/usr/bin", "A=2"},
		Files:   []File{{Host: "x/testdata"}, {Host: "f", Guest: "sub/g"}, {Host: "h", Guest: "/etc/h"}},
		Modules: []string{"m/b.ko", "m/a.ko"},
		Outputs: []Output{{Guest: "/out/", Host: "o"}},
	}.job()
	assert.Equal(t, "/bin/pkg.test", job.Path)
	assert.Equal(t, []string{"a", "b c"}, job.Args)
	assert.Equal(t, []string{"HOME=/guest", "USER=user", "TMPDIR=/tmp", "PATH=/usr/bin", "A=2"}, job.Env)
	assert.Equal(t, []string{"/lib/modules/00-b.ko", "/lib/modules/01-a.ko"}, job.Modules, "order of loading")
	assert.Equal(t, []string{"/out/"}, job.Outputs)
	assert.Equal(t, []File{
		{"/somewhere/pkg.test", "/bin/pkg.test"},
		{"m/b.ko", "/lib/modules/00-b.ko"},
		{"m/a.ko", "/lib/modules/01-a.ko"},
		{"x/testdata", "/guest/testdata"},
		{"f", "/guest/sub/g"},
		{"h", "/etc/h"},
	}, files)
}
