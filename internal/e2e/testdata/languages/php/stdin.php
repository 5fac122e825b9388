<?php
echo array_sum(file("php://stdin", FILE_IGNORE_NEW_LINES)), "\n";
