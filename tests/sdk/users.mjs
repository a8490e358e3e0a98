// Users, sessions, access lists.

import assert from 'node:assert/strict';
import { Parse, rejectsWithCode, run } from './parse.mjs';

const Note = Parse.Object.extend('Note');
const as = (user) => ({ sessionToken: user.getSessionToken() });
const signUp = (username) => Parse.User.signUp(username, 'correct horse', { email: `${username}@example.com` });

let ada;
let bob;

await run({
  async 'sign-up gives a session'() {
    ada = await signUp('ada');
    bob = await signUp('bob');
    assert.match(ada.getSessionToken(), /^r:/);
    await rejectsWithCode(signUp('ada'), Parse.Error.USERNAME_TAKEN);
    await rejectsWithCode(
      Parse.User.signUp('carol', 'x', { email: 'ada@example.com' }),
      Parse.Error.EMAIL_TAKEN,
    );
  },

  async 'log-in by name, and only with the right password'() {
    const again = await Parse.User.logIn('ada', 'correct horse');
    assert.equal(again.id, ada.id);
    assert.equal(again.get('email'), 'ada@example.com');
    assert.equal(again.get('password'), undefined);
    assert.notEqual(again.getSessionToken(), ada.getSessionToken());
    await rejectsWithCode(
      Parse.User.logIn('ada', 'wrong'),
      Parse.Error.OBJECT_NOT_FOUND,
      'Invalid username/password.',
    );
  },

  async 'a token is its user'() {
    const me = await Parse.User.me(ada.getSessionToken());
    assert.equal(me.id, ada.id);
    assert.equal(me.get('username'), 'ada');
    const invalid = Parse.User.me('r:00000000000000000000000000000000');
    await rejectsWithCode(invalid, Parse.Error.INVALID_SESSION_TOKEN);
  },

  async 'a user changes themselves and nobody else'() {
    await ada.save({ city: 'Graz' }, as(ada));
    assert.equal((await Parse.User.me(ada.getSessionToken())).get('city'), 'Graz');
    const stranger = Parse.User.createWithoutData(ada.id);
    await assert.rejects(stranger.save({ city: 'Linz' }, as(bob)), ({ code }) => [101, 206].includes(code));
    assert.equal((await Parse.User.me(ada.getSessionToken())).get('city'), 'Graz');
  },

  async 'an access list hides and protects'() {
    const note = new Note({ text: 'private' });
    note.setACL(new Parse.ACL(ada));
    await note.save(null, as(ada));
    const find = (options) => new Parse.Query(Note).find(options);
    assert.equal((await find(as(ada))).length, 1);
    assert.equal((await find(as(bob))).length, 0);
    assert.equal((await find()).length, 0);
    assert.equal((await find({ useMasterKey: true })).length, 1);
    await rejectsWithCode(note.save({ text: 'mine' }, as(bob)), Parse.Error.OBJECT_NOT_FOUND);

    const acl = note.getACL();
    acl.setPublicReadAccess(true);
    note.revert();
    note.setACL(acl);
    await note.save(null, as(ada));
    const [read] = await find(as(bob));
    assert.equal(read.getACL().getPublicReadAccess(), true);
    assert.equal(read.getACL().getWriteAccess(ada), true);
    assert.equal(read.getACL().getWriteAccess(bob), false);
    await rejectsWithCode(read.destroy(as(bob)), Parse.Error.OBJECT_NOT_FOUND);
  },

  async 'a role gives its users its rights'() {
    const editors = new Parse.Role('Editors', new Parse.ACL());
    editors.getUsers().add(bob);
    await editors.save(null, { useMasterKey: true });
    const acl = new Parse.ACL();
    acl.setRoleReadAccess('Editors', true);
    const note = new Note({ text: 'for editors' });
    note.setACL(acl);
    await note.save();
    const find = (options) => new Parse.Query(Note).equalTo('text', 'for editors').find(options);
    assert.equal((await find(as(bob))).length, 1);
    assert.equal((await find(as(ada))).length, 0);
  },

  async 'a current user, as programs with one user have it'() {
    Parse.User.enableUnsafeCurrentUser();
    const user = await Parse.User.logIn('bob', 'correct horse');
    assert.equal(Parse.User.current().id, user.id);
    const session = await Parse.Session.current();
    assert.equal(session.get('user').id, user.id);
    assert.equal(session.getSessionToken(), user.getSessionToken());
    const note = new Note({ text: 'of bob' });
    note.setACL(new Parse.ACL(user));
    await note.save();
    assert.equal(await new Parse.Query(Note).equalTo('text', 'of bob').count(), 1);
    const other = await Parse.User.become(ada.getSessionToken());
    assert.equal(Parse.User.current().id, other.id);
    assert.equal(await new Parse.Query(Note).equalTo('text', 'of bob').count(), 0);

    await Parse.User.logIn('bob', 'correct horse');
    const token = Parse.User.current().getSessionToken();
    await Parse.User.logOut();
    assert.equal(Parse.User.current(), null);
    await rejectsWithCode(Parse.User.me(token), Parse.Error.INVALID_SESSION_TOKEN);
    assert.equal((await Parse.User.me(bob.getSessionToken())).id, bob.id, 'the other session lives');
  },
});
