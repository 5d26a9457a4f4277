// Package floors is a test of the layers inside the root package, which are called floors
// and are the rows of the table in docs/architecture.md. A file must not use a name that a
// file of a higher floor declares. Tools/graph checks the imports between packages. There
// is nothing to import here: run go test ./tools/floors.
package floors
