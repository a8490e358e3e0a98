// Which class a trigger is for: Parse takes a name, Parse.User and the like, or a subclass of Parse.Object.

import { Parse } from '../parse/sdk.js';

export function classNameOf(subject) {
  if (subject === Parse.File) return '@File';
  if (subject === Parse.Config) return '@Config';
  if (typeof subject === 'string') return subject === 'User' ? '_User' : subject;
  const name = subject?.className ?? subject?.name;
  if (typeof name === 'string' && name !== '') return name;
  throw new TypeError('A trigger needs a class: its name, or a Parse.Object subclass.');
}

const ONLY_USER = ['beforeLogin', 'afterLogin', 'beforePasswordResetRequest'];

/** Refuses, with Parse Server's texts, what its triggers.js refuses (`validateClassNameForTriggers`). */
export function checkClassOfTrigger(kind, className) {
  if (kind === 'beforeSave' && className === '_PushStatus') {
    throw new Error('Only afterSave is allowed on _PushStatus');
  }
  if (ONLY_USER.includes(kind) && className !== '_User') {
    throw new Error('Only the _User class is allowed for the beforeLogin and afterLogin triggers');
  }
  if (kind === 'afterLogout' && className !== '_Session') {
    throw new Error('Only the _Session class is allowed for the afterLogout trigger.');
  }
  if (className === '_Session' && kind !== 'afterLogout') {
    throw new Error('Only the afterLogout trigger is allowed for the _Session class.');
  }
}
