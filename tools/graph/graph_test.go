package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree writes a module with this project's path and returns its folder. files has texts by
// path.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	t.Setenv("GOWORK", "off") // in case the folder for temporary files is in a workspace
	t.Setenv("GOFLAGS", "")
	dir := t.TempDir()
	files["go.mod"] = "module " + project + "\n\ngo 1.26\n"
	for path, text := range files {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// source returns a Go file that imports the packages in these folders.
func source(folders ...string) string {
	text := "package p\n"
	for _, f := range folders {
		if f != "" {
			f = "/" + f
		}
		text += "import _ \"" + project + f + "\"\n"
	}
	return text
}

func graphOf(t *testing.T, files map[string]string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), []string{"-dir", tree(t, files)}, &out)
	return out.String(), err
}

func TestPrintsLayersFromTheBottom(t *testing.T) {
	out, err := graphOf(t, map[string]string{
		"zcnet/zcnet.go":        source("", "uring"),
		"zcrx.go":               source("csrc", "uring"),
		"zcrx_test.go":          source("internal/skip", "uring"),
		"uring/uring.go":        source("csrc"),
		"uring/x_test.go":       "package p_test\nimport _ \"" + project + "/uring\"\nimport _ \"" + project + "/internal/skip\"\n",
		"csrc/csrc.go":          source(),
		"internal/skip/skip.go": source(),
		"cmd/zcrx/main.go":      source("zcnet", "cmd/zcrx/report"),
		"cmd/zcrx/report/r.go":  source(),
	})
	require.NoError(t, err)
	assert.Equal(t, `ground
  internal/skip
C
  csrc
kernel
  uring            csrc (tests: internal/skip)
pools
  zcrx             csrc uring (tests: internal/skip)
connections
  zcnet            uring zcrx
programs
  cmd/zcrx         cmd/zcrx/report zcnet
  cmd/zcrx/report
`, out)
}

func TestRefusesWhatTheTableForbids(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"upward": {
			map[string]string{"zcrx.go": source(), "uring/uring.go": source("")},
			`uring imports zcrx, which is above it: layer "kernel" is below "pools"`,
		},
		"upward in a test": {
			map[string]string{"zcrx.go": source(), "zcnet/zcnet.go": source(), "zcrx_test.go": source("zcnet")},
			`a test of zcrx imports zcnet, which is above it: layer "pools" is below "connections"`,
		},
		"upward off Linux": {
			map[string]string{
				"csrc/csrc.go": source(), "internal/sys/sys.go": source(),
				"internal/sys/sys_darwin.go": source("csrc"),
			},
			`internal/sys imports csrc, which is above it: layer "ground" is below "C"`,
		},
		"sideways": {
			map[string]string{"nic/nic.go": source("uring"), "uring/uring.go": source()},
			`nic imports uring: the packages of layer "kernel" do not import each other`,
		},
		"unknown": {
			map[string]string{"zcrx.go": source("attic"), "attic/attic.go": source()},
			"attic is in no layer: add it to the table in tools/graph/layers.go",
		},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := graphOf(t, c.files)
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestFindsNothing(t *testing.T) {
	_, err := graphOf(t, map[string]string{})
	assert.ErrorContains(t, err, "no package of "+project)
}

func TestLongestRowDecides(t *testing.T) {
	for folder, want := range map[string]string{
		".": "pools", "tools/cbench": "C", "tools/lane": "programs", "vm/internal/wire": "programs",
	} {
		i, known := layerOf(layers, folder)
		require.True(t, known, folder)
		assert.Equal(t, want, layers[i].name, folder)
	}
	_, known := layerOf(layers, "toolshed")
	assert.False(t, known)
}
