package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// makePackage builds a .deb with the named files. Each file's content is its name.
func makePackage(t *testing.T, dir string, files ...string) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "DEBIAN", "control"),
		"Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.org>\nDescription: d\n", 0o644)
	for _, name := range files {
		write(t, filepath.Join(root, name), filepath.Base(name), 0o644)
	}
	deb := filepath.Join(dir, "p.deb")
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", root, deb).CombinedOutput()
	require.NoError(t, err, string(out))
	return deb
}

func TestInstall(t *testing.T) {
	for release, image := range map[string]string{
		"6.1.0-50-cloud-amd64":    "boot/vmlinuz-6.1.0-50-cloud-amd64",
		"7.3.4+deb13-cloud-amd64": "usr/lib/modules/7.3.4+deb13-cloud-amd64/vmlinuz",
	} {
		dir := t.TempDir()
		part := filepath.Join(dir, ".part-1")
		require.NoError(t, os.Mkdir(part, 0o700))
		deb := makePackage(t, part, image, "lib/modules/k/virtio_console.ko", "lib/modules/k/virtio.ko", "lib/modules/k/other.ko")
		got, err := install(t.Context(), dir, Kernel{Series: "7.3", Release: release, Version: "1-1", Package: deb})
		require.NoError(t, err)
		home := filepath.Join(dir, release)
		assert.Equal(t, Kernel{
			Series: "7.3", Release: release, Version: "1-1",
			Image: filepath.Join(home, "vmlinuz"), Package: filepath.Join(home, "p.deb"),
			Modules: []string{filepath.Join(home, "virtio.ko"), filepath.Join(home, "virtio_console.ko")},
		}, got)
		for _, name := range append(got.Modules, got.Image, got.Package) {
			assert.FileExists(t, name)
		}
		assert.NoFileExists(t, filepath.Join(home, "other.ko"))
		cached, found, err := cachedKernel(dir, "7.3")
		require.NoError(t, err)
		assert.True(t, found)
		assert.Equal(t, got, cached)
	}
}

func TestInstallWithoutImage(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, ".part-1")
	require.NoError(t, os.Mkdir(part, 0o700))
	deb := makePackage(t, part, "usr/share/doc/x")
	_, err := install(t.Context(), dir, Kernel{Series: "7.3", Release: "r", Package: deb})
	require.ErrorContains(t, err, "no kernel image in it")
	assert.NoDirExists(t, filepath.Join(dir, "r"))
}

func TestCachedKernelIsUsedWithoutNetwork(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("PATH", "") // nothing can be fetched
	dir, err := cacheDir("kernels")
	require.NoError(t, err)
	for release, version := range map[string]string{"a": "7.3.9-1", "b": "7.3.10-1"} {
		write(t, filepath.Join(dir, release, infoName),
			`{"Series":"7.3","Release":"`+release+`","Version":"`+version+`","Image":"vmlinuz"}`, 0o644)
	}
	got, err := FetchKernel(t.Context(), "7.3", false)
	require.NoError(t, err)
	assert.Equal(t, "7.3.10-1", got.Version)
	assert.Equal(t, filepath.Join(dir, "b", "vmlinuz"), got.Image)

	_, err = FetchKernel(t.Context(), "6.18", false)
	require.ErrorContains(t, err, "fetching a kernel of series 6.18")
}
