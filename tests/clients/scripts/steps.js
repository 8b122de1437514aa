// What the scripts of Node's clients share: steps that are run in order and named when they fail.

const [, , port, folder] = process.argv;

/** Where the server listens. */
exports.server = { host: "127.0.0.1", port: Number(port), user: "postgres", database: "postgres" };

/** A package of the folder that `tests/clients/install` made. */
exports.installed = (name) => require(`${folder}/node_modules/${name}`);

/** Runs the steps; prints each one's name, and ends with status 1 if one failed. */
exports.run = async (steps, end) => {
  let failed = false;
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
      console.log("ok", name);
    } catch (error) {
      failed = true;
      console.log("FAILED", name, error);
    }
  }
  await end();
  process.exit(failed ? 1 : 0);
};
