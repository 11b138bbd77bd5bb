// The gateway has no option for the address it listens on and takes every interface: preloaded
// with `node --require`, this makes 127.0.0.1 the only one.
const net = require("net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
  if (typeof first === "number") {
    const others = rest.filter((value) => typeof value !== "string");
    return listen.call(this, first, "127.0.0.1", ...others);
  }
  const options = typeof first === "object" ? { ...first, host: "127.0.0.1" } : first;
  return listen.call(this, options, ...rest);
};
