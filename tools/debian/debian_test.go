package debian

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCompareVersions(t *testing.T) {
	// Each list is in rising order.
	for _, list := range [][]string{
		{"7.3.4-1~bpo13+1", "7.3.4-1", "7.3.4-2~bpo13+1", "7.3.10-1~bpo13+1", "7.4~rc1-1", "7.4-1"},
		{"6.1.99-1", "6.1.170-3", "6.1.176-1"},
		{"1.0~~", "1.0~", "1.0", "1.0a", "1.0+b", "1:0.1"},
		{"1-2", "1-2-1", "1-10-1"},
	} {
		for i := range list {
			for j := range list {
				got := CompareVersions(list[i], list[j])
				switch {
				case i < j:
					assert.Negative(t, got, "%s < %s", list[i], list[j])
				case i > j:
					assert.Positive(t, got, "%s > %s", list[i], list[j])
				default:
					assert.Zero(t, got, list[i])
				}
			}
		}
	}
	assert.Zero(t, CompareVersions("1.02-1", "1.2-1"), "leading zeros")
	assert.Zero(t, CompareVersions("0:1-1", "1-1"), "absent epoch")
}

func TestUpstream(t *testing.T) {
	assert.Equal(t, "7.3.4", Upstream("7.3.4-1~bpo13+1"))
	assert.Equal(t, "6.1.176", Upstream("6.1.176-1"))
	assert.Equal(t, "2.0-rc", Upstream("1:2.0-rc-1"))
}

func TestParseSearch(t *testing.T) {
	got, err := parseSearch("a 1-1\nb 2-1\n")
	require.NoError(t, err)
	assert.Equal(t, []Package{{"a", "1-1"}, {"b", "2-1"}}, got)
	got, err = parseSearch("")
	require.NoError(t, err)
	assert.Empty(t, got)
	_, err = parseSearch("nonsense\n")
	require.Error(t, err)
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// candidates returns the mirrors that the script chooses from the given apt sources.
func candidates(t *testing.T, files map[string]string) []string {
	t.Helper()
	etc := t.TempDir()
	for name, text := range files {
		path := filepath.Join(etc, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	out, err := run(t.Context(), []string{"ZCRX_APT_DIR=" + etc, "ZCRX_DEBIAN_MIRROR="}, "candidates")
	require.NoError(t, err)
	return strings.Fields(out)
}

func TestMirrorFromOneLineSources(t *testing.T) {
	got := candidates(t, map[string]string{"sources.list": `
# deb http://comment.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/other.gpg] http://other.example/apt stable main
deb http://nomain.example/apt stable contrib
deb http://mirror.example/debian-security bookworm-security main
deb http://old-security.example/debian-security bookworm/updates main
deb http://flat.example/apt ./
deb cdrom:[Debian]/ bookworm main
deb-src http://source.example/debian bookworm main
deb http://updates.example/debian bookworm-updates main
deb	http://plain.example/debian/  bookworm	main contrib # words
deb [arch=amd64 signed-by=` + keyring + `] http://signed.example/debian bookworm main
`})
	assert.Equal(t, []string{
		"http://signed.example/debian", "http://plain.example/debian/", "http://updates.example/debian",
	}, got)
}

func TestMirrorFromDeb822Sources(t *testing.T) {
	got := candidates(t, map[string]string{
		"sources.list.d/a.sources": `Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no
Signed-By: ` + keyring + `

# comment
types: deb deb-src
uris: http://one.example/debian
 http://two.example/debian
suites: trixie
 trixie-updates
components: main non-free-firmware
signed-by: ` + keyring,
		"sources.list.d/b.sources": `Types: deb
URIs: http://embedded.example/apt
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xyz

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main
Signed-By: ` + keyring + "\n",
	})
	assert.Equal(t, []string{"http://one.example/debian", "http://two.example/debian"}, got)
}

func TestMirrorFromNothing(t *testing.T) {
	assert.Empty(t, candidates(t, nil))
	out, err := run(t.Context(), []string{"ZCRX_DEBIAN_MIRROR=http://named.example/debian"}, "candidates")
	require.NoError(t, err)
	assert.Equal(t, "http://named.example/debian", strings.TrimSpace(out))
}

func TestErrorsAreOneSentence(t *testing.T) {
	cache := "XDG_CACHE_HOME=" + t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "usage: "},
		{[]string{"binary", "sid"}, "usage: "},
		{[]string{"closure", "sid", "dir"}, "usage: "},
		{[]string{"closure", "sid,../sid", "dir", "x"}, "'sid,../sid' is not the name of a Debian suite"},
		{[]string{"search", "../sid", "x"}, "'../sid' is not the name of a Debian suite"},
		{[]string{"search", "sid", "("}, "'(' is not an extended regular expression"},
	} {
		_, err := run(t.Context(), []string{cache}, c.args...)
		require.ErrorContains(t, err, c.want)
		assert.NotContains(t, err.Error(), "\n")
	}

	_, err := run(t.Context(), []string{cache, "ZCRX_APT_DIR=" + t.TempDir()}, "search", "sid", "x")
	require.ErrorContains(t, err, "no entry of this machine's apt sources")
}
