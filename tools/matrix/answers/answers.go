// Package answers has the results of the kernel matrix. TestMatrix of package zcrx, which
// runs on each kernel, writes a Kernel to File as JSON, and the command tools/matrix, which
// boots the kernels, reads it. Nothing else imports this package.
package answers

// File is the name of the file that the test writes.
const File = "answers.json"

// Yes is the result of a feature that can be used and of an operation that worked. Another
// result is the name of the layer in which it failed.
const Yes = "yes"

// The situations, as the table names them.
const (
	Root          = "root"
	NoNetAdmin    = "root without CAP_NET_ADMIN"
	User          = "ordinary user"
	UserNamespace = "root of a new user namespace"
	Memlock       = "root without CAP_IPC_LOCK, memlock 64 KiB"
	Disabled1     = "user, io_uring_disabled=1"
	Disabled2     = "root, io_uring_disabled=2"
	SeccompEPERM  = "root, seccomp filter that returns EPERM"
	SeccompENOSYS = "root, seccomp filter that returns ENOSYS"
)

// Kernel has the results of one kernel.
type Kernel struct {
	Release    string
	Situations []Answers
}

// Answers has the results of one situation.
type Answers struct {
	Situation  string
	Features   map[string]string // results by the feature's name
	Operations map[string]string // results by the operation's name
	Errors     map[string]string // texts of the errors, by the same names
	LeakedFDs  int               // file descriptors that a probe left open
}
