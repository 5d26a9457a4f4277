package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zcrx-go/zcrx/tools/matrix/answers"
)

func fakeKernels() []answers.Kernel {
	of := func(release, export string) answers.Kernel {
		return answers.Kernel{Release: release, Situations: []answers.Answers{{
			Situation:  answers.Root,
			Features:   map[string]string{"export": export, "import": export, "flush": "yes"},
			Operations: map[string]string{"add area": "yes"},
		}}}
	}
	older, newer := of("6.18.15+deb13", "kernel"), of("7.3.4+deb13", "yes")
	newer.Situations = append(newer.Situations, answers.Answers{Situation: answers.Disabled2, Features: map[string]string{"export": "sandbox"}})
	return []answers.Kernel{older, newer}
}

func TestRender(t *testing.T) {
	doc := render([]string{"6.18", "7.3"}, fakeKernels())
	assert.Contains(t, doc, "cloud kernels 6.18.15+deb13, 7.3.4+deb13 (x86-64)")
	assert.Contains(t, doc, "## As root\n\n| feature | 6.18 | 7.3 |\n|---|---|---|\n| export, import | kernel | yes |\n| flush | yes | yes |\n")
	assert.Contains(t, doc, "## As root, io_uring_disabled=2\n\n| feature | 6.18 | 7.3 |\n|---|---|---|\n| export | – | sandbox |\n")
}
