package vm

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/zcrx-go/zcrx/tools/debian"
)

// Kernel is a Debian kernel in the cache folder, which is below [os.UserCacheDir].
type Kernel struct {
	Series  string // 7.3
	Release string // as uname -r prints it: 7.3.4+deb13-cloud-amd64
	Version string // of the Debian package: 7.3.4-1~bpo13+1
	Image   string // path of the bootable image
	Package string // path of the .deb
	// Modules are the paths of the modules that the guest needs for its port to the
	// host, in the order in which they are loaded. Kernels from 6.12 on need none.
	Modules []string
}

// portModules returns the names of the modules that the port needs, each after those that it
// depends on.
func portModules() []string {
	return []string{
		"virtio.ko", "virtio_ring.ko", "virtio_pci_modern_dev.ko",
		"virtio_pci_legacy_dev.ko", "virtio_pci.ko", "virtio_console.ko",
	}
}

// infoName is the file with the Kernel of a folder of the cache.
const infoName = "kernel.json"

// FetchKernel returns a kernel of a series, for instance "7.3". If the cache has one,
// FetchKernel returns the newest of these without using the network, unless update is true.
// Otherwise it downloads the newest patch release from the Debian archive, if the cache does
// not have that. Concurrent calls, also in other processes, download it only once.
func FetchKernel(ctx context.Context, series string, update bool) (Kernel, error) {
	return fetchKernel(ctx, series, update, io.Discard)
}

func fetchKernel(ctx context.Context, series string, update bool, notices io.Writer) (Kernel, error) {
	suite, err := suiteOf(series)
	if err != nil {
		return Kernel{}, err
	}
	dir, err := cacheDir("kernels")
	if err != nil {
		return Kernel{}, err
	}
	if !update {
		if kernel, ok, err := cachedKernel(dir, series); ok || err != nil {
			return kernel, err
		}
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	// Another process may have fetched it while this one waited.
	kernel, cached, err := cachedKernel(dir, series)
	if err != nil || cached && !update {
		return kernel, err
	}
	name, file, remove, err := downloadKernel(ctx, dir, suite, series, kernel, notices)
	if err != nil {
		return Kernel{}, fmt.Errorf("fetching a kernel of series %s: %w", series, err)
	}
	defer remove()
	if file == "" {
		return kernel, nil // the cached one is the newest
	}
	kernel = Kernel{
		Series:  series,
		Release: releaseOf(name.Name),
		Version: name.Version,
		Package: file,
	}
	return install(ctx, dir, kernel)
}

// downloadKernel downloads the package of the newest patch release into a new folder, which
// remove removes. file is empty if have is the newest patch release.
func downloadKernel(ctx context.Context, dir, suite, series string, have Kernel, notices io.Writer) (
	found debian.Package, file string, remove func(), err error,
) {
	part, err := os.MkdirTemp(dir, ".part-")
	if err != nil {
		return found, "", nil, err
	}
	remove = func() { _ = os.RemoveAll(part) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	// Try twice: the archive may have replaced the patch release since the package lists
	// were fetched. After a failed download the next search fetches the lists anew.
	for attempt := range 2 {
		var all []debian.Package
		if all, err = debian.Search(ctx, suite, cloudKernels); err != nil {
			return found, "", remove, err
		}
		if found, err = newest(all, suite, series); err != nil {
			return found, "", remove, err
		}
		if found.Version == have.Version && releaseOf(found.Name) == have.Release {
			return found, "", remove, nil
		}
		if attempt == 0 {
			fmt.Fprintf(notices, "fetching the kernel %s (%s)\n", found.Name, found.Version)
		}
		if file, err = debian.Binary(ctx, suite, found.Name, part); err == nil {
			return found, file, remove, nil
		}
	}
	return found, "", remove, err
}

// install unpacks the image and the modules beside the package, and renames the folder into
// the cache, so that other processes see all of it or nothing.
func install(ctx context.Context, dir string, kernel Kernel) (Kernel, error) {
	part := filepath.Dir(kernel.Package)
	if err := unpackPackage(ctx, &kernel, part); err != nil {
		return Kernel{}, fmt.Errorf("unpacking %s: %w", filepath.Base(kernel.Package), err)
	}
	info, err := json.MarshalIndent(kernel.rebase(filepath.Base), "", "\t")
	if err != nil {
		return Kernel{}, err
	}
	if err := os.WriteFile(filepath.Join(part, infoName), info, 0o644); err != nil {
		return Kernel{}, err
	}
	// os.MkdirTemp made the folder private, which the cache need not be.
	if err := os.Chmod(part, 0o755); err != nil {
		return Kernel{}, err
	}
	home := filepath.Join(dir, kernel.Release)
	// What is there is damaged, or an older build of this release.
	if err := os.RemoveAll(home); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(part, home); err != nil {
		return Kernel{}, err
	}
	return kernel.rebase(func(name string) string {
		return filepath.Join(home, filepath.Base(name))
	}), nil
}

// rebase returns a copy of k in which change has been applied to all paths.
func (k Kernel) rebase(change func(string) string) Kernel {
	k.Image, k.Package = change(k.Image), change(k.Package)
	modules := make([]string, 0, len(k.Modules))
	for _, m := range k.Modules {
		modules = append(modules, change(m))
	}
	k.Modules = modules
	return k
}

// unpackPackage unpacks the image and the modules of kernel.Package into dir and sets their
// paths in kernel.
func unpackPackage(ctx context.Context, kernel *Kernel, dir string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", kernel.Package)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (dpkg-deb is in the package dpkg)", err)
	}
	err = pickFiles(tar.NewReader(out), kernel, dir)
	// Read the rest of the archive: dpkg-deb fails if its pipe is closed early.
	_, copyErr := io.Copy(io.Discard, out)
	return errors.Join(err, copyErr, cmd.Wait())
}

func pickFiles(archive *tar.Reader, kernel *Kernel, dir string) error {
	wanted := map[string]bool{"vmlinuz": true, "vmlinuz-" + kernel.Release: true}
	for _, m := range portModules() {
		wanted[m] = true
	}
	found := make(map[string]bool)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		base := path.Base(header.Name)
		if header.Typeflag != tar.TypeReg || !wanted[base] {
			continue
		}
		file := filepath.Join(dir, base)
		if base == "vmlinuz-"+kernel.Release {
			file = filepath.Join(dir, "vmlinuz")
		}
		if err := save(file, archive); err != nil {
			return err
		}
		found[filepath.Base(file)] = true
	}
	if !found["vmlinuz"] {
		return errors.New("no kernel image in it")
	}
	kernel.Image = filepath.Join(dir, "vmlinuz")
	for _, m := range portModules() {
		if found[m] {
			kernel.Modules = append(kernel.Modules, filepath.Join(dir, m))
		}
	}
	return nil
}

func save(name string, content io.Reader) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// cachedKernel returns the newest cached patch release of a series.
func cachedKernel(dir, series string) (best Kernel, found bool, err error) {
	infos, err := filepath.Glob(filepath.Join(dir, "*", infoName))
	if err != nil {
		return best, false, err
	}
	for _, info := range infos {
		kernel, err := readKernel(info)
		if err != nil {
			return best, false, err
		}
		if kernel.Series != series {
			continue
		}
		if !found || debian.CompareVersions(kernel.Version, best.Version) > 0 {
			best, found = kernel, true
		}
	}
	return best, found, nil
}

func readKernel(info string) (Kernel, error) {
	text, err := os.ReadFile(info)
	if errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, nil // being replaced: return a kernel of no series
	}
	if err != nil {
		return Kernel{}, err
	}
	var kernel Kernel
	if err := json.Unmarshal(text, &kernel); err != nil {
		return Kernel{}, fmt.Errorf("%s is damaged, remove its folder: %w", info, err)
	}
	dir := filepath.Dir(info)
	return kernel.rebase(func(name string) string { return filepath.Join(dir, name) }), nil
}
