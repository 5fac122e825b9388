# want: can't start new thread
# want: True
import threading
over = threading.Event()
count = 0
try:
    while count < 1000:
        threading.Thread(target=over.wait, daemon=True).start()
        count += 1
except RuntimeError as e:
    print(e)
over.set()
print(100 < count < 160)
