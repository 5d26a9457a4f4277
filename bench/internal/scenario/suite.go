package scenario

// A Group is cases that differ in one parameter, and belong in one table.
type Group struct {
	Title string
	// Varies is the parameter in which the cases differ.
	Varies Parameter
	Cases  []Case
}

// Parameter is a parameter of a Case.
type Parameter string

// The parameters in which the cases of a group can differ.
const (
	Connections Parameter = "connections"
	Size        Parameter = "size"
	BufferSize  Parameter = "buffer size"
)

// Of returns the parameter's value in c.
func (p Parameter) Of(c Case) int {
	switch p {
	case Size:
		return c.Size
	case BufferSize:
		return c.BufferSize
	default:
		return c.Connections
	}
}

// Suite returns what "bench suite" measures.
func Suite() []Group {
	small := Case{Workload: Echo, Connections: 64, Size: 100}
	paced := Case{Workload: Echo, Connections: 64, Size: 100, Rate: 20_000}
	large := Case{Workload: Echo, Connections: 16, Size: 64 << 10}
	bulk := Case{Workload: Bulk, Connections: 8, Size: 256 << 10}
	small4 := Case{Workload: Bulk, Connections: 8, Size: 4 << 10}
	churn := Case{Workload: Churn, Connections: 16, Size: 100}
	http := Case{Workload: HTTP, Connections: 64, Size: 100}
	return []Group{
		{"Echo of 100 bytes", Connections, vary(small, Connections, 1, 16, 64, 256, 512)},
		{"Echo of 100 bytes, 20,000 a second over 64 connections", Connections, []Case{paced}},
		{"Echo of larger messages, 16 connections", Size, vary(large, Size, 4<<10, 64<<10)},
		{"Bulk, sends of 256 KiB", Connections, vary(bulk, Connections, 1, 8, 64, 512)},
		{"Bulk, sends of 4 KiB, 8 connections", Connections, []Case{small4}},
		{"Bulk, sends of 256 KiB, 8 connections, by buffer size", BufferSize, vary(bulk, BufferSize, 4<<10, 16<<10, 64<<10, 256<<10)},
		{"One exchange of 100 bytes for each connection, 16 at a time", Connections, []Case{churn}},
		{"HTTP, bodies of 100 bytes", Connections, vary(http, Connections, 1, 64, 256)},
	}
}

func vary(base Case, p Parameter, values ...int) []Case {
	cases := make([]Case, len(values))
	for i, v := range values {
		cases[i] = base
		switch p {
		case Size:
			cases[i].Size = v
		case BufferSize:
			cases[i].BufferSize = v
		case Connections:
			cases[i].Connections = v
		}
	}
	return cases
}
