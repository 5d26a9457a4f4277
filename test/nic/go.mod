// This folder has no Go files. This file makes it a module of its own, so that it is not in
// the zip of the library's module: go get must not download files under the GPL.
module github.com/zcrx-go/zcrx/test/nic

go 1.26.0
