// Uses the official Node client as its users do: SETTINGS SCENARIO. Prints what the scenario returns as JSON.
// `route.cjs` was loaded before; the client itself comes from the folder that CLIENT_FOLDER names.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');
const {createRequire} = require('node:module');

const {
  CatalogSource,
  DocumentBuilder,
  GroupSecurityIdentityBuilder,
  PermissionSetBuilder,
  PushSource,
  UserSecurityIdentityBuilder,
} = createRequire(path.join(process.env.CLIENT_FOLDER, 'package.json'))('@coveo/push-api-client');

const settings = JSON.parse(process.argv[2]);
const {source, provider} = settings;
const options = {retryAfter: 1, maxRetries: 4};
const push = new PushSource(settings.key, settings.organization, options);
const catalog = new CatalogSource(settings.key, settings.organization, options);
const plain = {createFields: false};

const open = (uri) => new DocumentBuilder(uri, uri).withPermissionSet(new PermissionSetBuilder(true));
const statuses = (...answers) => answers.map((answer) => answer.status);

const scenarios = {
  async add() {
    const set = new PermissionSetBuilder(false)
      .withAllowedPermissions(new UserSecurityIdentityBuilder('alice@example.com'))
      .withAllowedPermissions(new GroupSecurityIdentityBuilder('Team', provider));
    const item = new DocumentBuilder('https://example.com/a?x=1&y=2', 'Title')
      .withData('Some text')
      .withDate('2017-11-08T12:18:41Z')
      .withFileExtension('.txt')
      .withMetadataValue('mykey', ['one', 'two'])
      .withPermissionSet(set);
    const levels = new DocumentBuilder('https://example.com/levels', 'Levels')
      .withPermissionLevel('top', [set])
      .withPermissionLevel('rest', [new PermissionSetBuilder(true)]);
    return statuses(
      await push.addOrUpdateDocument(source, item, plain),
      await push.addOrUpdateDocument(source, levels, plain)
    );
  },

  async addWithFields() {
    const item = open('https://example.com/fields').withMetadataValue('mynumber', 5).withMetadataValue('mytext', 'a');
    return statuses(await push.addOrUpdateDocument(source, item));
  },

  async addNoUri() {
    return statuses(await push.addOrUpdateDocument(source, open('folder/a.txt'), plain));
  },

  async remove() {
    for (const uri of ['file://folder', 'file://folder/a', 'file://other', 'file://other/a']) {
      await push.addOrUpdateDocument(source, open(uri), plain);
    }
    return statuses(
      await push.deleteDocument(source, 'file://folder', true),
      await push.deleteDocument(source, 'file://other')
    );
  },

  async removeOld() {
    return statuses(
      await push.addOrUpdateDocument(source, open('https://example.com/old'), plain),
      await push.deleteDocumentsOlderThan(source, '2023-11-16T00:00:00Z')
    );
  },

  async batch() {
    await push.setSourceStatus(source, 'REBUILD');
    await push.addOrUpdateDocument(source, open('https://example.com/gone'), plain);
    const data = zlib.gzipSync('packed').toString('base64');
    const addOrUpdate = [
      open('https://example.com/text').withData('ü'),
      open('https://example.com/gzip').withCompressedBinaryData(data, 'GZIP'),
    ];
    const remove = [{documentId: 'https://example.com/gone', deleteChildren: false}];
    const answer = await push.batchUpdateDocuments(source, {addOrUpdate, delete: remove}, plain);
    return statuses(answer);
  },

  async files() {
    const file = path.join(process.env.WORK_FOLDER, 'items.json');
    const items = [1, 2, 3].map((number) => ({
      documentId: `https://example.com/${number}`,
      title: `Number ${number}`,
      permissions: [{allowAnonymous: true, allowedPermissions: [], deniedPermissions: []}],
    }));
    fs.writeFileSync(file, JSON.stringify(items));
    const sent = [];
    await push
      .batchUpdateDocumentsFromFiles(source, [process.env.WORK_FOLDER], plain)
      .onBatchUpload(({res}) => sent.push(res.status))
      .onBatchError((error) => sent.push(String(error)))
      .batch();
    return sent;
  },

  async identities() {
    const alice = {name: 'alice', type: 'USER'};
    const team = {name: 'Team', type: 'GROUP'};
    const gone = {name: 'Gone', type: 'GROUP'};
    const everyone = [{name: 'Everyone', type: 'VIRTUAL_GROUP'}];
    const email = {name: 'alice@example.com', type: 'USER', provider: 'Email Security Provider'};
    const {identity} = push;
    await identity.createSecurityIdentity(provider, {identity: team, members: [alice], wellKnowns: everyone});
    await identity.createSecurityIdentity(provider, {identity: gone, members: [], wellKnowns: []});
    const alias = {identity: alice, mappings: [email], wellKnowns: []};
    await identity.createOrUpdateSecurityIdentityAlias(provider, alias);
    await identity.deleteSecurityIdentity(provider, {identity: gone});
    return [];
  },

  async oldIdentities() {
    const {identity} = push;
    await identity.createSecurityIdentity(provider, {identity: {name: 'Old', type: 'GROUP'}, members: []});
    await identity.deleteOldSecurityIdentities(provider, {orderingId: 4000000000000, queueDelay: 0});
    return [];
  },

  async identityBatch() {
    const container = await push.platformClient.pushApi.createFileContainer();
    const members = [{identity: {name: 'Team', type: 'GROUP'}, members: [{name: 'alice', type: 'USER'}]}];
    const body = JSON.stringify({members, mappings: [], deleted: []});
    const answer = await fetch(container.uploadUri, {method: 'PUT', body, headers: container.requiredHeaders});
    await push.identity.manageSecurityIdentities(provider, {fileId: container.fileId});
    return [answer.status];
  },

  async stream() {
    const load = (...names) => ({addOrUpdate: names.map((name) => open(`product://${name}`)), delete: []});
    await catalog.batchStreamDocuments(settings.catalog, load('a', 'b'), plain);
    await catalog.batchStreamDocuments(settings.catalog, load('b', 'c'), plain);
    const answer = await catalog.batchUpdateDocuments(settings.catalog, load('d'), plain);
    return statuses(answer);
  },
};

scenarios[process.argv[3]]().then(
  (result) => console.log(JSON.stringify(result)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  }
);
