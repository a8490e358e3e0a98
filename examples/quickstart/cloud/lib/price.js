exports.priceOf = (item) => item.get("price") * item.get("quantity");
