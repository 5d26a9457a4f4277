package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/tools/matrix/answers"
)

func TestCheckIgnoresPatchReleases(t *testing.T) {
	doc := filepath.Join(t.TempDir(), "kernels.md")
	kernels := fakeKernels()
	require.NoError(t, writeOrCheck(doc, render([]string{"6.18", "7.3"}, kernels), false, nil))
	kernels[1].Release = "7.3.9+deb13"
	var out bytes.Buffer
	require.NoError(t, writeOrCheck(doc, render([]string{"6.18", "7.3"}, kernels), true, &out))
	kernels[1].Situations[0].Features["export"] = "kernel"
	err := writeOrCheck(doc, render([]string{"6.18", "7.3"}, kernels), true, &out)
	assert.ErrorContains(t, err, "out of date")
	assert.Contains(t, out.String(), "FAIL")
	assert.ErrorIs(t, writeOrCheck(filepath.Join(t.TempDir(), "none"), "", true, &out), os.ErrNotExist)
}

func TestEveryKernelRunsAfterAFailure(t *testing.T) {
	var out bytes.Buffer
	broken := errors.New("no such kernel")
	kernels, err := bootAll(t.Context(), []string{"6.18", "7.3"}, 1, &out, func(_ context.Context, series string) (answers.Kernel, string, error) {
		if series == "6.18" {
			return answers.Kernel{}, "its console", broken
		}
		return fakeKernels()[1], "", nil
	})
	assert.ErrorIs(t, err, broken)
	assert.Contains(t, out.String(), "FAIL  Linux 6.18: no such kernel\n      its console\n")
	assert.Contains(t, out.String(), "ok    Linux 7.3, root\n")
	assert.Equal(t, "7.3.4+deb13", kernels[1].Release)
}

func TestBootFailures(t *testing.T) {
	_, _, err := boot(t.Context(), "/no/such/program", "x", "7.3", time.Minute)
	assert.Error(t, err)
	_, _, err = boot(t.Context(), "true", "x", "7.3", time.Minute)
	assert.ErrorIs(t, err, os.ErrNotExist, "the run left no results")
}
