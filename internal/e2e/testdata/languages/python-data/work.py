"""Sales of three shops, a CSV file each: read together, summed up, drawn, learnt from."""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

data = Path("data")
data.mkdir()
chance = np.random.default_rng(1)
for number, shop in enumerate(["east", "north", "west"], start=1):
    visitors = chance.integers(10, 100, size=1000)
    sales = pd.DataFrame({"shop": shop, "visitors": visitors, "sales": visitors * number})
    sales.to_csv(data / f"{shop}.csv", index=False)

everything = pd.concat([pd.read_csv(f) for f in sorted(data.glob("*.csv"))])
print("rows", len(everything))
everything.groupby("shop")["sales"].sum().to_csv("result.csv")
print("lines", len(Path("result.csv").read_text().splitlines()))

everything.boxplot(column="sales", by="shop")
plt.title("Sales (žluťoučký kůň)")
plt.savefig("sales.png")
print("png", Path("sales.png").read_bytes().startswith(b"\x89PNG"))

west = everything[everything["shop"] == "west"]
model = LinearRegression().fit(west[["visitors"]], west["sales"])
print("each visitor brings", round(float(model.coef_[0]), 3))

product = np.ones((1000, 1000)) @ np.ones((1000, 1000))
print("product", product[0, 0])
everything.to_excel("everything.xlsx", index=False)
print("excel", len(pd.read_excel("everything.xlsx")))
print("threads", os.environ["OMP_NUM_THREADS"])
