package report

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/zcrx-go/zcrx/bench/internal/result"
)

// drawing is a plot.
type drawing struct {
	name  string // of its file
	title string
	svg   []byte
}

const (
	width  = 16 * vg.Centimeter
	height = 10 * vg.Centimeter
)

// plotsOf returns the plots of a group: rate and CPU by the parameter that varies, and the
// percentiles of the latency in the middle case.
func plotsOf(g group) ([]drawing, error) {
	var drawn []drawing
	if len(g.tables) > 1 {
		for _, m := range []result.Metric{result.Rate, result.CPU} {
			d, err := plotMetric(g, m)
			if err != nil {
				return nil, err
			}
			drawn = append(drawn, d)
		}
	}
	if result.P50.UnitFor(g.workload) != "" {
		d, err := plotLatency(g, &g.tables[len(g.tables)/2])
		if err != nil {
			return nil, err
		}
		drawn = append(drawn, d)
	}
	return drawn, nil
}

// plotMetric draws a line for each contestant over the cases.
func plotMetric(g group, m result.Metric) (drawing, error) {
	labels := make([]string, len(g.tables))
	for i, t := range g.tables {
		labels[i] = g.value(t.Case)
	}
	p := newPlot(g.title, m.Name+", "+m.UnitFor(g.workload), labels)
	p.X.Label.Text = string(g.varies)
	p.Y.Min = 0
	for i, name := range g.contestants() {
		var line plotter.XYs
		for x := range g.tables {
			if r := g.tables[x].Of(name); r != nil {
				line = appendPoint(line, x, r.Spread(m).Median)
			}
		}
		if err := addLine(p, i, name, line); err != nil {
			return drawing{}, err
		}
	}
	return render(p, g.file()+"-"+strings.ToLower(strings.Fields(m.Name)[0])+".svg")
}

// plotLatency draws a line for each contestant over the percentiles of a case.
func plotLatency(g group, t *result.Table) (drawing, error) {
	percentiles := []result.Metric{result.P50, result.P90, result.P99, result.P999}
	labels := make([]string, len(percentiles))
	for i, m := range percentiles {
		labels[i] = m.Name
	}
	title := g.title
	if len(g.tables) > 1 {
		title += ", " + g.label(t.Case)
	}
	p := newPlot(title, "latency, µs", labels)
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	for i, r := range t.Contestants {
		var line plotter.XYs
		for x, m := range percentiles {
			line = appendPoint(line, x, r.Spread(m).Median)
		}
		if err := addLine(p, i, r.Contestant, line); err != nil {
			return drawing{}, err
		}
	}
	return render(p, g.file()+"-latency.svg")
}

// appendPoint appends a point if there is a value. None of the values can be 0 but for a
// failure to measure, and a logarithmic axis cannot show it.
func appendPoint(line plotter.XYs, x int, y float64) plotter.XYs {
	if math.IsNaN(y) || y <= 0 {
		return line
	}
	return append(line, plotter.XY{X: float64(x), Y: y})
}

func newPlot(title, y string, labels []string) *plot.Plot {
	p := plot.New()
	for _, style := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		style.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size = vg.Points(11)
	p.Title.Text, p.Y.Label.Text = title, y
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.2, float64(len(labels))-0.8
	p.Add(plotter.NewGrid())
	return p
}

// addLine adds the line of contestant number i, if it has points.
func addLine(p *plot.Plot, i int, name string, points plotter.XYs) error {
	if len(points) == 0 {
		return nil
	}
	line, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
	line.Dashes = plotutil.Dashes(i / len(plotutil.DefaultColors))
	marks.Color, marks.Shape = line.Color, plotutil.Shape(i)
	p.Add(line, marks)
	p.Legend.Add(name, line, marks)
	return nil
}

// render draws the plot with its legend to the right.
func render(p *plot.Plot, name string) (drawing, error) {
	c := vgsvg.NewWith(vgsvg.UseWH(width, height))
	all := draw.New(c)
	legend := p.Legend
	p.Legend = plot.NewLegend()
	legend.Top, legend.Left = true, true
	across := legend.Rectangle(all).Size().X + vg.Points(10)
	p.Draw(draw.Crop(all, 0, -across, 0, 0))
	legend.Draw(draw.Crop(all, width-across+vg.Points(5), 0, 0, -vg.Points(20)))
	var svg bytes.Buffer
	if _, err := c.WriteTo(&svg); err != nil {
		return drawing{}, err
	}
	// No line ends in a blank.
	lines := slices.Collect(bytes.Lines(svg.Bytes()))
	for i, l := range lines {
		lines[i] = append(bytes.TrimRight(l, " \n"), '\n')
	}
	return drawing{name: name, title: p.Title.Text + ": " + p.Y.Label.Text, svg: bytes.Join(lines, nil)}, nil
}
