// Package netlink makes single netlink requests to the Linux kernel, each with one
// reply. Start with Dial, then call Conn.Request for rtnetlink, or Conn.Family and
// Conn.RequestGeneric for a generic family, and read the reply with Attrs.
//
// It makes no dumps, receives no notifications and changes nothing, and it needs no
// privilege. Replies are checked: a malformed one is an error that matches
// ErrMalformed.
package netlink
