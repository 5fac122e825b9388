# want: 127.0.0.1 hello
# want: localhost hello
# want: ::1 hello
import http.server, socket, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass
class Six(http.server.HTTPServer):
    address_family = socket.AF_INET6
for kind, bind, host in [(http.server.HTTPServer, "127.0.0.1", "127.0.0.1"), (http.server.HTTPServer, "127.0.0.1", "localhost"), (Six, "::1", "::1")]:
    server = kind((bind, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://[{host}]" if ":" in host else f"http://{host}"
    print(host, urllib.request.urlopen(f"{url}:{server.server_port}/").read().decode())
