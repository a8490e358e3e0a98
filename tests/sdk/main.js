// The cloud code that cloud.mjs calls.

Parse.Cloud.define('echo', ({ params }) => params);

Parse.Cloud.define('kinds', ({ params }) => ({
  date: params.when instanceof Date,
  nested: params.list[0].when instanceof Date,
  object: params.item instanceof Parse.Object,
  id: params.item.id,
  arrays: Array.isArray(params.matrix) && Array.isArray(params.matrix[0]),
}));

Parse.Cloud.define('later', ({ params }) => new Date(params.when.getTime() + 1000));

Parse.Cloud.define('make', async ({ params }) => {
  const item = await new Parse.Object('Item').save({ name: params.name, at: new Date(0) });
  return { item, list: [item], count: 1 };
});

Parse.Cloud.define('nothing', () => {});
Parse.Cloud.define('null', () => null);
Parse.Cloud.define('who', ({ user, master }) => ({ user: user?.get('username'), master }));
Parse.Cloud.define('context', ({ context }) => context);

Parse.Cloud.define('fail', ({ params }) => {
  if (params.how === 'parse') throw new Parse.Error(999, 'own code');
  if (params.how === 'string') throw 'a string';
  throw new Error('an error');
});

Parse.Cloud.beforeSave('Guarded', ({ object, original, context }) => {
  if (object.get('price') < 0) throw new Parse.Error(Parse.Error.VALIDATION_ERROR, 'a price cannot be negative');
  object.set('cents', object.get('price') * 100);
  object.set('was', original ? original.get('price') : -1);
  if (context.unset) object.unset('note');
  if (context.seen) object.set('seen', context.seen);
});

Parse.Cloud.beforeDelete('Guarded', ({ object, context }) => {
  if (object.get('locked') && context.force !== true) throw 'it is locked';
});
