//go:build bench

package bench

import "strings"

// printOne measures print(1) for one client on an idle machine: a bare process, a hardened container by raw calls and
// by docker run, and the time from submission to callback, cold and warm. They alternate in each round; each begins
// when the engine has removed the containers of the last.
func printOne(h *harness) {
	ctx := h.Context()
	cold, warm := h.serve(settings{slots: 4}), h.serve(settings{slots: 4, warm: 4})
	model, err := cold.readHardenedConfig(ctx)
	if err != nil {
		h.Fatal(err)
	}
	flags, err := model.flags(h.dir)
	if err != nil {
		h.Fatal(err)
	}
	bare, raw, cleared, run := Figure{Name: "bare", Unit: "ms"}, Figure{Name: "raw", Unit: "ms"},
		Figure{Name: "raw with removal", Unit: "ms"}, Figure{Name: "docker run", Unit: "ms"}
	ways := map[*server][]timing{}
	ours := map[*server]*Figure{cold: {Unit: "ms"}, warm: {Unit: "ms"}}
	for i := range h.rounds + 1 {
		if i == 1 { // round 0 warms up
			for _, f := range []*Figure{&bare, &raw, &cleared, &run, ours[cold], ours[warm]} {
				f.Sample = nil
			}
		}
		took, err := command(ctx, python(), "-c", "print(1)")
		if err != nil {
			h.Fatal(err)
		}
		bare.Sample = append(bare.Sample, Millis(took))
		known, all, err := h.engine.rawPrint(ctx, model)
		if err != nil {
			h.Fatal(err)
		}
		raw.Sample, cleared.Sample = append(raw.Sample, Millis(known)), append(cleared.Sample, Millis(all))
		if took, err = command(ctx, "docker", flags...); err != nil {
			h.Fatal(err)
		}
		run.Sample = append(run.Sample, Millis(took))
		for _, s := range []*server{cold, warm} {
			w, err := s.run(ctx, "python", "print(1)", printsOne)
			if err == nil {
				err = s.awaitRest(ctx)
			}
			if err != nil {
				h.Fatal(err)
			}
			ours[s].Sample = append(ours[s].Sample, w.all)
			ways[s] = append(ways[s], w)
		}
	}
	coldly, warmly := cold.stop(), warm.stop()
	h.note("Where the time of print(1) goes, in ms (medians; from before the submission, but for the program and "+
		"from its end):",
		"\tanswered\tthe program began\tthe program\tfrom its end to the callback\tall\t",
		timeTable("cold", ways[cold][1:]), timeTable("warm", ways[warm][1:]))
	const beyond = 10 // ms
	near := Row{What: "A  print(1), warm", Ours: *ours[warm], Theirs: bare, Correct: warmly}
	near.Goal, near.Value = "≤ 1.5 × bare + 10 ms", digits(near.Ours.Sample.Median()/bare.Sample.Median())
	near.Met = near.Ours.Sample.Median() <= 1.5*bare.Sample.Median()+beyond
	h.add(near)
	h.add(AtMost(0.2, Row{What: "A  print(1), warm", Ours: *ours[warm], Theirs: raw, Correct: warmly}))
	h.add(AtMost(1.1, Row{What: "A  print(1), cold", Ours: *ours[cold], Theirs: raw, Correct: coldly}))
	h.add(beside(Row{What: "A  print(1), cold", Ours: *ours[cold], Theirs: cleared, Correct: coldly}))
	h.add(beside(Row{What: "A  print(1), cold", Ours: *ours[cold], Theirs: run, Correct: coldly}))
}

// timeTable returns a line with the medians of the parts of an execution.
func timeTable(name string, ways []timing) string {
	middle := func(of func(timing) float64) string {
		var s Sample
		for _, w := range ways {
			s = append(s, of(w))
		}
		return digits(s.Median())
	}
	return strings.Join([]string{
		name, middle(func(w timing) float64 { return w.answer }), middle(func(w timing) float64 { return w.start }),
		middle(func(w timing) float64 {
			return w.program
		}), middle(func(w timing) float64 { return w.delivery }), middle(func(w timing) float64 { return w.all }),
	}, "\t") + "\t"
}

// beside returns a row that shows a ratio without a goal.
func beside(r Row) Row {
	r = AtMost(0, r)
	r.Goal = ""
	return r
}
