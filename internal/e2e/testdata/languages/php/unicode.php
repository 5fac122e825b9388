<?php
echo mb_substr("žluťoučký kůň, 日本語, 🚀!", 0, -1), "\n";
