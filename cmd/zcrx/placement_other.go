//go:build !linux

package main

func readPlacement(string, int) *placement { return nil }
