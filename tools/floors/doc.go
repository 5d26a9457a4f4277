// Package floors is a test: no file of the root package names what a floor above its own
// declares. The floors are rows of the table in docs/architecture.md.
package floors
