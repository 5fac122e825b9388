<?php
fwrite(STDERR, "leaving\n");
exit(7);
