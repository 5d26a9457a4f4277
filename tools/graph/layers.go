package main

// project is the path that all packages of this project begin with, in whatever
// module they are.
const project = "github.com/zcrx-go/zcrx"

// A layer is a set of packages that may import those of the layers below.
type layer struct {
	name string
	// folders of packages, from the top of the repository ("." is that package
	// alone). A folder stands for all below it that no row names.
	folders []string
	// apart: the packages of the layer do not import each other.
	apart bool
}

// layers are the layers from the bottom. A new package that is in none of these
// folders gets a row here, and if it is part of the library a rule of depguard in
// .golangci.yml.
//
// Test files count, so helpers of tests are in the lowest layer whose tests import
// them, wherever their folder is.
var layers = []layer{
	{name: "ground", folders: []string{"internal/skip", "internal/sys", "internal/netlink", "tools/matrix/answers"}},
	{name: "C", folders: []string{"csrc", "internal/cprep", "tools/cbench"}},
	{name: "kernel", folders: []string{"uring", "nic"}, apart: true},
	{name: "pools", folders: []string{"."}},
	{name: "connections", folders: []string{"zcnet"}},
	{name: "programs", folders: []string{"cmd", "examples", "test", "bench", "tools", "vm"}},
}
