package main

// project is the beginning of the paths of all packages of this project, in all modules.
const project = "github.com/zcrx-go/zcrx"

// A layer is a set of packages that may import those of the layers below.
type layer struct {
	name string
	// folders are folders of packages, relative to the top of the repository ("." is
	// the root package only). A folder includes all folders below it that no layer names.
	folders []string
	// apart says that the packages of the layer must not import each other.
	apart bool
}

// layers are the layers from the bottom. A new package that is in none of these folders
// must be added here and, if it is part of the library, to the rules of depguard in
// .golangci.yml.
//
// Imports of test files count too. So a package that tests import is in the lowest layer
// whose tests import it.
var layers = []layer{
	{name: "ground", folders: []string{"internal/skip", "internal/sys", "internal/netlink", "internal/onloop", "internal/zcrxtest", "tools/matrix/answers"}},
	{name: "C", folders: []string{"csrc", "internal/cprep", "tools/cbench"}},
	{name: "kernel", folders: []string{"uring", "nic"}, apart: true},
	{name: "pools", folders: []string{"."}},
	{name: "connections", folders: []string{"zcnet"}},
	{name: "programs", folders: []string{"cmd", "examples", "test", "bench", "tools", "vm"}},
}
