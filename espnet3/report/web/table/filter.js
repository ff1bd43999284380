/* The filter of the table: words that a row must contain, and comparisons of a column with a number. */

const COMPARE = {
  "<": (value, bound) => value < bound, "<=": (value, bound) => value <= bound,
  ">": (value, bound) => value > bound, ">=": (value, bound) => value >= bound, "=": (value, bound) => value === bound,
};

/** The column that is meant by a name, in full or by its last parts; undefined if there is none. */
function columnNamed(columns, name) {
  const wanted = name.toLowerCase();
  return columns.find((column) => (column.names ?? []).some((known) => {
    const lowered = known.toLowerCase();
    return lowered === wanted || lowered.endsWith(`.${wanted}`) || lowered.endsWith(`/${wanted}`);
  }));
}

/**
 * A filter as tests of a trial's index, and what is wrong with it; blanks around an operator mean nothing.
 * `textOf(index)` is the row's text in small letters.
 */
function parseFilter(text, columns, textOf) {
  const words = text.trim().replace(/\s*(<=|>=|<|>|=)\s*/g, "$1").split(/\s+/).filter(Boolean);
  const problems = [];
  const tests = words.map((word) => {
    const [, name, sign, bound] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.*)$/) ?? [];
    const column = name && columnNamed(columns, name);
    const value = column && (column.compared === undefined ? column.number : column.compared);
    if (value && bound !== "" && !Number.isNaN(Number(bound))) {
      return (index) => value(index) !== null && COMPARE[sign](value(index), Number(bound));
    }
    if (name && !column) problems.push(`there is no column ${name}: ${columnNames(columns)}`);
    else if (name && sign !== "=") problems.push(bound === "" ? `${word}: a number is missing` : `${bound} is no number`);
    else if (name && bound === "") problems.push(`${word}: a value is missing`);
    const lowered = word.toLowerCase();
    return (index) => textOf(index).includes(lowered);
  });
  return { tests, problems };
}

const columnNames = (columns) => `there are ${columns.filter((column) => column.names).map((column) => column.label).join(", ")}`;
