// Elements are made of text, never of markup: peers choose some of what is shown.

const SVG = "http://www.w3.org/2000/svg";

/** Sets attributes; `class`, `title` and the like are attributes too. One that is null is taken away. */
export function attributes(element, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined) {
      element.removeAttribute(name);
    } else if (element.getAttribute(name) !== String(value)) {
      element.setAttribute(name, value);
    }
  }
  return element;
}

/** An element with these attributes; its children are elements or texts. */
export function element(name, values = {}, ...children) {
  const made = attributes(document.createElement(name), values);
  made.append(...children);
  return made;
}

/** An element of a drawing. */
export function drawn(name, values = {}, ...children) {
  const made = attributes(document.createElementNS(SVG, name), values);
  made.append(...children);
  return made;
}

export const by = (id) => document.getElementById(id);

/** Sets a text, and touches nothing if it is there already. */
export function text(element, value) {
  if (element.textContent !== String(value)) {
    element.textContent = value;
  }
}

/**
 * Makes `parent` have one child for each of `items`: `make()` makes a child, `update(child, item)` fills it. Children are
 * used again, so that the focus and what a screen reader reads stay where they are.
 */
export function list(parent, items, make, update) {
  while (parent.children.length > items.length) {
    parent.lastElementChild.remove();
  }
  while (parent.children.length < items.length) {
    parent.append(make());
  }
  items.forEach((item, index) => update(parent.children[index], item));
}

/** Fills the body of a table; `columns` are functions that make the cells of a row from an item. What has not changed is
 * left alone, so that a selection in it lasts. */
export function rows(body, items, columns) {
  list(body, items, () => element("tr"), (row, item) => {
    columns.forEach((column, index) => {
      const [now, next] = [row.cells[index], column(item)];
      if (now === undefined) {
        row.append(next);
      } else if (!now.isEqualNode(next)) {
        now.replaceWith(next);
      }
    });
  });
}
