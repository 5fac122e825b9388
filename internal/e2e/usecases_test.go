//go:build e2e && languages

package e2e

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/language"
)

// The tests in this file run the use cases of the page, written for current libraries.

// requireSelected returns a language, and skips the test if LANGUAGES selects others.
func requireSelected(t *testing.T, name string) []language.Language {
	t.Helper()
	list := slices.DeleteFunc(selectedLanguages(t), func(l language.Language) bool { return l.Name != name })
	if len(list) == 0 {
		t.Skipf("LANGUAGES does not contain %s", name)
	}
	return list
}

const training = `import torch
from torch import nn

torch.manual_seed(1)
x = torch.linspace(-3, 3, 2000).unsqueeze(1)
y = torch.sin(x)
model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
print("Starting model training...")
for epoch in range(1, 101):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    if epoch % 20 == 0:
        print(f"Epoch {epoch}: {loss.item():.6f}")
torch.save(model.state_dict(), "/workspace/trained_model.pt")
print("Training complete!")
`

// useOfTheModel loads the model and prints its loss.
const useOfTheModel = `import torch
from torch import nn

model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
model.load_state_dict(torch.load("trained_model.pt"))
x = torch.linspace(-3, 3, 2000).unsqueeze(1)
with torch.no_grad():
    print(f"Loaded: {nn.functional.mse_loss(model(x), torch.sin(x)).item():.6f}")
`

func TestALanguageTrainsAModelThatIsDownloadedAndLoaded(t *testing.T) {
	l := requireSelected(t, "python-ml")
	h := newHarness(t, withSlots(2))
	h.requireLanguages(l)
	ml := fields{"language": "python-ml", "timeout": 14400}
	trained := h.submit(training, ml, fields{"artifacts": []string{"*.pt"}})
	p := h.awaitCallback(trained).Payload
	if p.Status != execution.Completed || strings.Count(p.Stdout, "Epoch ") != 5 ||
		!strings.HasSuffix(p.Stdout, "Training complete!\n") {
		t.Fatalf("trained: %s/%s\n%s%s", p.Status, p.Reason, p.Stdout, p.Stderr)
	}
	status, header, model := h.rawWithHeader(http.MethodGet,
		"/executions/"+string(trained)+"/artifacts/trained_model.pt", nil)
	if status != http.StatusOK || len(model) == 0 || header.Get("Content-Length") != strconv.Itoa(len(model)) {
		t.Fatalf("downloaded %d bytes: %d %v", len(model), status, header)
	}
	p = h.awaitCallback(h.submit(useOfTheModel, ml, fields{
		"files": []fields{{"path": "trained_model.pt", "base64": base64.StdEncoding.EncodeToString(model)}},
	})).Payload
	var loss float64
	if _, err := fmt.Sscanf(p.Stdout, "Loaded: %f", &loss); err != nil || loss > 0.1 {
		t.Errorf("loaded: %s/%s, a loss of %v, %v\n%s%s", p.Status, p.Reason, loss, err, p.Stdout, p.Stderr)
	}
}

// batchProcessing is the program of the page, with its indentation.
const batchProcessing = `import pandas as pd
import glob

print("Processing batch files...")
all_files = sorted(glob.glob("/workspace/data/*.csv"))
dfs = [pd.read_csv(f) for f in all_files]
combined = pd.concat(dfs, ignore_index=True)
combined.to_csv("/workspace/combined_result.csv", index=False)
print(f"Processed {len(all_files)} files")
`

func TestALanguageUsesAWorkspaceFilledOverHTTP(t *testing.T) {
	l := requireSelected(t, "python-data")
	h := newHarness(t, withSlots(2))
	h.requireLanguages(l)
	const files, rows = 12, 500
	for file := range files {
		var text strings.Builder
		text.WriteString("file,row,name\n")
		for row := range rows {
			fmt.Fprintf(&text, "%d,%d,\"größe, %d\"\n", file, row, row)
		}
		path := fmt.Sprintf("/workspaces/sales/files/data/%02d.csv", file)
		if status, _, answer := h.rawWithHeader(http.MethodPut, path, text.String()); status/100 != 2 {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
	}
	p := h.awaitCallback(h.submit(batchProcessing, fields{
		"language": "python-data", "timeout": 7200,
		"workspace": "sales",
	})).Payload
	if p.Status != execution.Completed || p.Stdout != "Processing batch files...\nProcessed 12 files\n" {
		t.Fatalf("%s/%s\n%s%s", p.Status, p.Reason, p.Stdout, p.Stderr)
	}
	status, _, result := h.rawWithHeader(http.MethodGet, "/workspaces/sales/files/combined_result.csv", nil)
	if status != http.StatusOK {
		t.Fatalf("download: %d %s", status, result)
	}
	lines, err := csv.NewReader(strings.NewReader(string(result))).ReadAll()
	if err != nil || len(lines) != 1+files*rows {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for i, line := range lines[1:] {
		if want := fmt.Sprintf("%d,%d,größe, %d", i/rows, i%rows, i%rows); strings.Join(line, ",") != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
}
