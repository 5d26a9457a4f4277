package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/zcrx-go/zcrx/bench/internal/result"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// group is the tables of cases that belong together, ordered by the parameter that varies.
type group struct {
	title    string
	workload scenario.Workload
	varies   scenario.Parameter
	tables   []result.Table
}

// groupsOf returns the groups, in the order in which they were measured. Results that are not
// of the suite make a group for each case.
func groupsOf(results []result.Result) []group {
	var groups []group
	for _, t := range result.Tables(results) {
		title := t.Group
		if title == "" {
			title = strings.ToUpper(t.Case.String()[:1]) + t.Case.String()[1:]
		}
		at := slices.IndexFunc(groups, func(g group) bool { return g.title == title })
		if at < 0 {
			at = len(groups)
			groups = append(groups, group{title: title, workload: t.Case.Workload})
		}
		groups[at].tables = append(groups[at].tables, t)
	}
	for i := range groups {
		groups[i].varies = variesOf(groups[i].tables)
	}
	return groups
}

// variesOf returns the parameter in which the cases differ.
func variesOf(tables []result.Table) scenario.Parameter {
	for _, p := range []scenario.Parameter{scenario.BufferSize, scenario.Size} {
		if p.Of(tables[0].Case) != p.Of(tables[len(tables)-1].Case) {
			return p
		}
	}
	return scenario.Connections
}

// value returns the value of the parameter that varies.
func (g group) value(c scenario.Case) string {
	if g.varies == scenario.Connections {
		return strconv.Itoa(c.Connections)
	}
	return scenario.Bytes(g.varies.Of(c))
}

// label returns the value as the head of a column.
func (g group) label(c scenario.Case) string {
	switch {
	case g.varies != scenario.Connections:
		return g.value(c)
	case c.Connections == 1:
		return "1 connection"
	}
	return g.value(c) + " connections"
}

// contestants returns the names in the order in which they were measured.
func (g group) contestants() []string {
	var names []string
	for _, t := range g.tables {
		for _, r := range t.Contestants {
			if !slices.Contains(names, r.Contestant) {
				names = append(names, r.Contestant)
			}
		}
	}
	return names
}

// file returns the beginning of the names of the group's plots.
func (g group) file() string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.ToLower(g.title))
	return name[:min(len(name), 100)]
}
