package vm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/tools/debian"
)

func TestNewest(t *testing.T) {
	all := []debian.Package{
		{Name: "linux-image-6.1.0-9-cloud-amd64", Version: "6.1.99-1"},
		{Name: "linux-image-6.1.0-10-cloud-amd64", Version: "6.1.170-1"},
		{Name: "linux-image-6.18.9+deb13-cloud-amd64", Version: "6.18.9-1~bpo13+1"},
		{Name: "linux-image-6.18.15+deb13-cloud-amd64", Version: "6.18.15-1~bpo13+1"},
		{Name: "linux-image-6.18.12+deb13-cloud-amd64", Version: "6.18.12-1~bpo13+1"},
		{Name: "linux-binary-7.3.4+deb13-cloud-amd64", Version: "7.3.4-1~bpo13+1"},
		{Name: "linux-image-7.3.4+deb13-cloud-amd64", Version: "7.3.4-1~bpo13+1"},
	}
	for series, want := range map[string]string{
		"6.1":  "linux-image-6.1.0-10-cloud-amd64",
		"6.18": "linux-image-6.18.15+deb13-cloud-amd64",
		"7.3":  "linux-binary-7.3.4+deb13-cloud-amd64",
	} {
		got, err := newest(all, "suite", series)
		require.NoError(t, err)
		assert.Equal(t, want, got.Name)
	}
	_, err := newest(all, "trixie-backports", "6.15")
	require.ErrorContains(t, err, "trixie-backports has no cloud kernel of series 6.15; it has 6.1, 6.18, 7.3")
}

func TestSuites(t *testing.T) {
	for series, want := range map[string]string{
		"6.1": "bookworm", "6.12": "trixie", "6.16": "trixie-backports", "7.3": "trixie-backports",
	} {
		got, err := suiteOf(series)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, series := range []string{"", "7", "7.3.4", "7.3 ", "../7.3"} {
		_, err := suiteOf(series)
		assert.ErrorContains(t, err, "want two numbers")
	}
	assert.Equal(t, "7.3.4+deb13-cloud-amd64", releaseOf("linux-binary-7.3.4+deb13-cloud-amd64"))
	assert.Equal(t, "6.1", seriesOf("6.1.176-1"))
}
