//go:build !linux

package sys

import "unsafe"

// Message has no use off Linux.
type Message struct{}

// Set does nothing.
func (m *Message) Set([][]byte) {}

// Clear does nothing.
func (m *Message) Clear() {}

// Pointer returns nil.
func (m *Message) Pointer() unsafe.Pointer { return nil }
