// Package debian downloads packages of any suite of the Debian archive onto a Debian
// machine of any release. Start with Search and Binary. It installs nothing and does not
// change the machine's apt configuration.
//
// The script "download" beside this file does the work, and can also be called on its
// own. It needs bash, apt and the Debian archive keyring, but not root. It takes the
// address of the mirror from the machine's own apt sources, and keeps its package lists in
// the user's cache folder.
package debian
