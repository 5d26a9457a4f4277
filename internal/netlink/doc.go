// Package netlink asks the Linux kernel single questions over netlink: one request,
// one reply. It does no dumps, follows no notifications and changes nothing, and it
// needs no privilege. Start with Dial, then Conn.Request for rtnetlink, or
// Conn.Family and Conn.RequestGeneric for a generic family; Attrs reads the reply.
//
// Replies are checked, not trusted: whatever arrives is read or refused with
// ErrMalformed.
package netlink
