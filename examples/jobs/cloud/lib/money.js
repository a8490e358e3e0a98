/** `1234567` cents are `"12,345.67"`. toLocaleString does not group here: the engine has no Intl. */
exports.euros = (cents) => (cents / 100).toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",");
