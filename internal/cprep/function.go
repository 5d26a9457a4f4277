package cprep

// Function is one of liburing's functions that prepare an entry.
type Function struct {
	Name   string
	Params []Param // without the entry, which is the first
}

// Param is a parameter of a function.
type Param struct {
	Name, Type string
}
