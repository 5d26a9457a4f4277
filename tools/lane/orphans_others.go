//go:build !linux

package main

// Without Linux's subreapers orphans are lost sight of.
func adoptOrphans() int { return 0 }

func (f family) bury() {}
