# want: example.com: [Errno -3]
# want: 1.1.1.1: [Errno 101]
import socket
for host in ["example.com", "1.1.1.1"]:
    try:
        socket.create_connection((host, 443), 5)
        print(host, "connected")
    except OSError as e:
        print(f"{host}: [Errno {e.errno}]")
