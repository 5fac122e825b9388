//go:build integration && walls

package docker

import (
	"strings"
	"testing"
)

// The test runs code with unusual system calls in an image that is too large for daily tests: `make walls` builds it
// from testdata/runtimes.
func TestLargeRuntimesRunUnderTheProfile(t *testing.T) {
	const image = "boomerang-test-runtimes"
	k := needKit(t)
	for name, c := range map[string]struct {
		code string
		argv []string
	}{
		"java, compiled, with its JIT, collectors, threads, files, sockets and processes": {
			argv: []string{"sh", "-c", `cp main Main.java && javac Main.java && for gc in Serial Parallel G1 Z; do
				java -XX:+Use${gc}GC -Xmx256m Main $gc || exit 1; done && echo it runs`},
			code: `
import java.nio.file.*; import java.util.*; import java.util.concurrent.*; import java.util.stream.*;
import java.net.*; import java.nio.channels.*;
public class Main {
	public static void main(String[] args) throws Exception {
		long hot = 0; for (int i = 0; i < 20_000_000; i++) hot += i * 31L ^ (hot >>> 3);
		ExecutorService pool = Executors.newVirtualThreadPerTaskExecutor();
		List<Future<Integer>> all = new ArrayList<>();
		for (int i = 0; i < 500; i++) { int n = i; all.add(pool.submit(() -> { Thread.sleep(1); return n; })); }
		int sum = 0; for (Future<Integer> f : all) sum += f.get();
		if (sum != 124750) throw new Error("virtual threads: " + sum);
		if (IntStream.range(0, 100000).parallel().map(x -> x % 7).sum() == 0) throw new Error("streams");
		Path p = Files.createTempFile("a", "b"); Files.writeString(p, "x".repeat(1 << 20));
		try (FileChannel c = FileChannel.open(p)) {
			if (c.map(FileChannel.MapMode.READ_ONLY, 0, c.size()).get(5) != 'x') throw new Error("map"); }
		try (ServerSocket s = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
			Socket c = new Socket(s.getInetAddress(), s.getLocalPort())) { s.accept().close(); }
		WatchService w = FileSystems.getDefault().newWatchService();
		p.getParent().register(w, StandardWatchEventKinds.ENTRY_CREATE); w.close();
		if (new ProcessBuilder("true").start().waitFor() != 0) throw new Error("process");
		for (int i = 0; i < 200; i++) { byte[] garbage = new byte[1 << 20]; if (garbage[i] != 0) throw new Error(); }
		System.gc();
		NetworkInterface.networkInterfaces().count();
		Thread.currentThread().setPriority(10);
	}
}`,
		},
		"numpy, scipy and pandas, with threads of BLAS": {
			argv: []string{"python3", "main"},
			code: `
import numpy as np, scipy.linalg, scipy.sparse.linalg, pandas as pd, io, tempfile
a = np.random.default_rng(1).standard_normal((600, 600))
assert np.allclose(a @ np.linalg.inv(a), np.eye(600), atol=1e-6)
scipy.linalg.svd(a); np.fft.fft2(a)
f = tempfile.NamedTemporaryFile(dir="/workspace"); np.memmap(f.name, mode="w+", shape=(1000, 1000))[:] = 1
frame = pd.DataFrame(a).groupby(lambda i: i % 5).mean(); frame.to_csv(io.StringIO())
print("it runs")
`,
		},
		"torch, training, with threads, workers and shared memory": {
			argv: []string{"python3", "main"},
			code: `
import torch, torch.multiprocessing as mp
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(1); torch.set_num_threads(2)
x = torch.randn(512, 20); y = x @ torch.randn(20, 1)
net = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
best = torch.optim.Adam(net.parameters(), 0.01)
first = None
for epoch in range(5):
    for a, b in DataLoader(TensorDataset(x, y), batch_size=64, num_workers=2):
        loss = torch.nn.functional.mse_loss(net(a), b); best.zero_grad(); loss.backward(); best.step()
        first = first or loss.item()
assert loss.item() < first, (first, loss.item())
t = torch.zeros(4).share_memory_()
def add(t): t.add_(1)
p = mp.get_context("fork").Process(target=add, args=(t,)); p.start(); p.join()
assert t.sum().item() == 4 and p.exitcode == 0
torch.jit.script(torch.nn.Linear(3, 3))(torch.ones(3))
torch.nn.functional.conv2d(torch.randn(1, 3, 64, 64), torch.randn(8, 3, 3, 3))
torch.save(net.state_dict(), "net.pt"); net.load_state_dict(torch.load("net.pt"))
print("it runs")
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, end := k.run(t, image, c.code, c.argv...)
			if !strings.HasSuffix(stdout, "it runs\n") || end.ExitCode != 0 || end.Signal != 0 {
				t.Errorf("exit code %d, signal %d, stdout %q, stderr %q, want 0 and %q", end.ExitCode, end.Signal,
					stdout, stderr, "it runs\n")
			}
			if stderr != "" {
				t.Log(stderr)
			}
		})
	}
}
