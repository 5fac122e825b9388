package store

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// curve holds the median in µs of one operation at each depth.
type curve struct {
	operation string
	at        map[int]float64
}

// curves returns the curves of the operations that every execution needs, with up to 100 subjects.
func curves(tb testing.TB, table [][]string) (all []curve) {
	tb.Helper()
	for _, operation := range []string{
		"finish", "submit", "record", "start", "cancel", "claim", "due", "list", "get", "ahead",
	} {
		c := curve{operation: operation, at: make(map[int]float64)}
		for _, row := range table[1:] {
			queued, width, ended := atoi(tb, row[1]), atoi(tb, row[2]), atoi(tb, row[3])
			if row[0] == operation && width <= 100 && queued == ended {
				p50, err := strconv.ParseFloat(row[4], 64)
				if err != nil {
					tb.Fatal(err)
				}
				c.at[queued] = p50
			}
		}
		if len(c.at) == 0 {
			tb.Fatalf("%s was not measured", operation)
		}
		all = append(all, c)
	}
	return all
}

func atoi(tb testing.TB, text string) int {
	tb.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// The frame of the chart in pixels. The names of the curves stand to its right.
const (
	left, top, wide, high = 64, 64, 600, 340
	fullWide, fullHigh    = 800, 470
)

// draw draws a chart with a logarithmic axis for the depth, readable on light and dark pages.
func draw(all []curve) string {
	lowest, highest := math.Inf(1), 0.0
	var depths []int
	for _, c := range all {
		for depth, us := range c.at {
			lowest, highest = min(lowest, us), max(highest, us)
			if !slices.Contains(depths, depth) {
				depths = append(depths, depth)
			}
		}
	}
	slices.Sort(depths)
	bottom, ceiling := math.Floor(math.Log10(lowest)), math.Ceil(math.Log10(highest))
	x := func(depth int) float64 { // an empty queue is drawn at 100
		return left + wide*(math.Log10(float64(max(depth, 100)))-2)/(math.Log10(float64(depths[len(depths)-1]))-2)
	}
	y := func(us float64) float64 { return top + high*(ceiling-math.Log10(us))/(ceiling-bottom) }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img"
	aria-label="The store's operations by the depth of the queue">
<style>
text { font: 13px system-ui, sans-serif; fill: #57606a } .title { font-size: 16px; font-weight: 600; fill: #1f2328 }
.grid { stroke: #d0d7de } .curve { fill: none; stroke-width: 2; stroke-linejoin: round } .name { font-weight: 500 }
@media (prefers-color-scheme: dark) { text { fill: #9198a1 } .title { fill: #f0f6fc } .grid { stroke: #3d444d } }
</style>
<text class="title" x="%d" y="28">What the store's operations take, by the depth of the queue</text>
<text x="%d" y="48">median of one caller; as many ended executions are kept as are queued</text>
`, fullWide, fullHigh, left, left)
	for power := bottom; power <= ceiling; power++ {
		us := math.Pow(10, power)
		name := fmt.Sprintf("%g µs", us)
		if us >= 1000 {
			name = fmt.Sprintf("%g ms", us/1000)
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+
			`<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, left+wide, y(us), y(us), left-10, y(us)+4, name)
	}
	for _, depth := range depths {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+
			`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(depth), x(depth), top, top+high, x(depth), top+high+22, grouped(depth))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">executions queued</text>`+"\n", left+wide/2, top+high+48)
	for i, label := range spread(all, depths[len(depths)-1], y) {
		c := all[i]
		color := fmt.Sprintf("hsl(%d 65%% 50%%)", i*360/len(all))
		points := make([]string, 0, len(depths))
		for _, depth := range depths {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(depth), y(c.at[depth])))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x(depth), y(c.at[depth]), color)
		}
		fmt.Fprintf(&b, `<polyline class="curve" stroke="%s" points="%s"/>`+
			`<path class="curve" style="stroke-width:1" stroke="%s" d="M%d %.1f L%d %.1f"/>`,
			color, strings.Join(points, " "), color, left+wide+5, y(c.at[depths[len(depths)-1]]), left+wide+20, label)
		fmt.Fprintf(&b, `<text class="name" style="fill:%s" x="%d" y="%.1f">%s</text>`+"\n", color, left+wide+25,
			label+4, c.operation)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// spread returns a height for the name of each curve, near the end of the curve and one line from the next name.
func spread(all []curve, deepest int, y func(float64) float64) []float64 {
	const apart = 17
	order := make([]int, 0, len(all))
	for i := range all {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return int(1000 * (y(all[a].at[deepest]) - y(all[b].at[deepest]))) })
	heights := make([]float64, len(all))
	last := math.Inf(-1)
	for _, i := range order { // downwards, each as high as possible
		last = max(last+apart, y(all[i].at[deepest]))
		heights[i] = last
	}
	floor := float64(top + high + apart)
	for _, i := range slices.Backward(order) { // upwards again, where a name is below the frame
		heights[i] = min(heights[i], floor-apart)
		floor = heights[i]
	}
	return heights
}

// grouped formats a number in groups of three digits.
func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s %03d", grouped(n/1000), n%1000)
}
