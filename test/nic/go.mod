// There is no Go here. This file makes the folder a module of its own, and so keeps
// it out of the zip of the library's module: what go get downloads has no file
// under the GPL.
module github.com/zcrx-go/zcrx/test/nic

go 1.26.0
