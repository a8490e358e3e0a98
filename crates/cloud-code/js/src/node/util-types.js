// node:util/types, by prototype and tag.

function tagOf(value) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

const instanceOf = (constructor) => (value) => value instanceof constructor;
const tagged =
  (...tags) =>
  (value) =>
    tags.includes(tagOf(value));
const typed = (name) => (value) => ArrayBuffer.isView(value) && value[Symbol.toStringTag] === name;

export default {
  isAnyArrayBuffer: tagged('ArrayBuffer', 'SharedArrayBuffer'),
  isArrayBuffer: instanceOf(ArrayBuffer),
  isArrayBufferView: ArrayBuffer.isView,
  isAsyncFunction: tagged('AsyncFunction', 'AsyncGeneratorFunction'),
  isBigInt64Array: typed('BigInt64Array'),
  isBigUint64Array: typed('BigUint64Array'),
  isBooleanObject: instanceOf(Boolean),
  isBoxedPrimitive: (value) =>
    [Boolean, Number, String, BigInt, Symbol].some((type) => value instanceof type),
  isDataView: instanceOf(DataView),
  isDate: instanceOf(Date),
  isExternal: () => false,
  isFloat32Array: typed('Float32Array'),
  isFloat64Array: typed('Float64Array'),
  isGeneratorFunction: tagged('GeneratorFunction', 'AsyncGeneratorFunction'),
  isGeneratorObject: tagged('Generator', 'AsyncGenerator'),
  isInt16Array: typed('Int16Array'),
  isInt32Array: typed('Int32Array'),
  isInt8Array: typed('Int8Array'),
  isKeyObject: (value) => value?.constructor?.name === 'KeyObject',
  isMap: instanceOf(Map),
  isMapIterator: tagged('Map Iterator'),
  isModuleNamespaceObject: tagged('Module'),
  isNativeError: instanceOf(Error),
  isNumberObject: instanceOf(Number),
  isPromise: instanceOf(Promise),
  isProxy: () => false,
  isRegExp: instanceOf(RegExp),
  isSet: instanceOf(Set),
  isSetIterator: tagged('Set Iterator'),
  isSharedArrayBuffer: tagged('SharedArrayBuffer'),
  isStringObject: instanceOf(String),
  isSymbolObject: instanceOf(Symbol),
  isTypedArray: (value) => ArrayBuffer.isView(value) && !(value instanceof DataView),
  isUint16Array: typed('Uint16Array'),
  isUint32Array: typed('Uint32Array'),
  isUint8Array: typed('Uint8Array'),
  isUint8ClampedArray: typed('Uint8ClampedArray'),
  isWeakMap: instanceOf(WeakMap),
  isWeakSet: instanceOf(WeakSet),
};
